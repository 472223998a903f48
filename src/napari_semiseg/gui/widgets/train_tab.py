"""The Train tab: method, budget, start, progress, curves, rounds."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QProgressBar, QStackedWidget, QWidget

from napari_semiseg.engine.plan import Plan
from napari_semiseg.gui import outlook
from napari_semiseg.gui.catalogue import MethodSpec
from napari_semiseg.gui.desk import Desk
from napari_semiseg.gui.training import Phase
from napari_semiseg.gui.widgets.loss_plot import LossPlot
from napari_semiseg.gui.widgets.method_form import MethodForm
from napari_semiseg.gui.widgets.pieces import (
    GAP,
    MARGIN,
    allow,
    button,
    caption,
    collapsible,
    column,
    number,
    row,
    sentence,
    whole,
)
from napari_semiseg.gui.widgets.registration_table import RegistrationTable
from napari_semiseg.gui.widgets.rounds_list import RoundsList

PRESETS = {"Recommended": "product", "As in the paper": "paper"}
DEVICES = {"Automatic": "auto", "Processor (CPU)": "cpu", "NVIDIA GPU (CUDA)": "cuda", "Apple GPU (MPS)": "mps"}


class TrainTab(QWidget):
    """Where training is started, followed and stopped."""

    def __init__(self, desk: Desk, theme_name: str, parent: QWidget | None = None):
        super().__init__(parent)
        self.desk = desk
        self._methods: list[MethodSpec] = []
        self._make_choices()
        self._make_settings()
        self._make_run(theme_name)
        layout = column(
            self._choices(),
            self.summary,
            self.volumes,
            self.settings,
            self.final,
            self.start,
            row(self.pause, self.stop, self.predict),
            self.bar,
            self.state,
            self.plot,
            self.registration,
            self.rounds,
            margin=MARGIN,
        )
        layout.addStretch(1)
        self.setLayout(layout)
        self._listen()
        self._on_method()
        self.refresh()

    def _make_choices(self) -> None:
        """Method, budget, device."""
        self.method = QComboBox()
        self.method.setToolTip("How the model learns. Default: automatic, by what is annotated and by this machine.")
        self.method.addItem("Automatic", "auto")
        self.summary = caption()
        self.volumes = caption()
        self.unit = QComboBox()
        self.unit.addItems(["minutes", "steps"])
        self.unit.setToolTip("Whether the budget is a time or a number of training steps. Default: minutes.")
        self.minutes = number(2.0, 0.1, 20_160, "How long to train", step=0.5, decimals=1)
        self.steps = whole(500, 1, 10_000_000, "How many training steps to take", step=100)
        self.budget = QStackedWidget()
        self.budget.addWidget(self.minutes)
        self.budget.addWidget(self.steps)
        self.budget.setFixedHeight(self.minutes.sizeHint().height())
        self.unit.currentIndexChanged.connect(self.budget.setCurrentIndex)
        self.device = QComboBox()
        for title, value in DEVICES.items():
            self.device.addItem(title, value)
        self.device.setToolTip("Where to compute. Default: automatic, a GPU where there is one.")

    def _make_settings(self) -> None:
        """What is seldom changed."""
        self.preset = QComboBox()
        for title, value in PRESETS.items():
            self.preset.addItem(title, value)
        self.preset.setToolTip("Which settings to start from. Default: recommended.")
        self.seed = whole(0, 0, 2**31 - 1, "Same seed, same steps, same processor: same model")
        self.final = QCheckBox("Final training: learn from held-out slices, too")
        self.final.setToolTip(
            "Learn from all annotated slices. The round then has no Dice of its own and its uncertainty is "
            "uncalibrated. Default: off, held-out slices judge the round."
        )
        self.form = MethodForm()
        self.settings = collapsible("Settings", self._settings())

    def _make_run(self, theme_name: str) -> None:
        """What starts, shows and stops a run."""
        desk = self.desk
        self.start = button(
            "Train",
            "Start a training round on all annotated slices of the ticked volumes, in a process beside napari (key "
            "Shift-T)",
            self.begin,
        )
        self.pause = button("Pause", "Hold the training, or let it go on", lambda: desk.training.pause())
        self.stop = button(
            "Stop", "End the training now and keep what was learned (key Shift-Q)", lambda: desk.training.stop()
        )
        self.predict = button(
            "Predict now", "Predict the ticked volumes with what was learned so far", desk.runs.predict_now
        )
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(True)
        self.bar.setToolTip("How far the run is, and how long it goes on")
        self.bar.setFormat("")
        self.state = sentence()
        self.plot = LossPlot(desk.training.history, theme_name)
        self.registration = RegistrationTable(desk.training)
        self.rounds = RoundsList(desk, theme_name)

    def _listen(self) -> None:
        """Follow what is chosen here, and the desk."""
        desk = self.desk
        self.method.currentIndexChanged.connect(self._on_method)
        self.preset.currentIndexChanged.connect(self._on_method)
        self.device.currentIndexChanged.connect(self._on_method)
        desk.training.changed.connect(self.refresh)
        desk.training.progressed.connect(self._on_progress)
        for signal in (
            desk.survey.changed,
            desk.history.changed,
            desk.slices_changed,
            desk.volume_changed,
            desk.volumes_changed,
            desk.session_changed,
        ):
            signal.connect(self.refresh)

    def show_methods(self, methods: list[MethodSpec]) -> None:
        """Offer the methods, as soon as they are known."""
        if self._methods:
            return
        self._methods = methods
        for spec in methods:
            self.method.addItem(spec.title, spec.name)

    def plan(self) -> Plan:
        """Return what a press of Train asks for now.

        Raises
        ------
        ValidationError
            Settings that exclude each other.
        """
        by_time = self.unit.currentIndex() == 0
        return Plan(
            method=self.method.currentData(),
            minutes=self.minutes.value() if by_time else None,
            steps=None if by_time else self.steps.value(),
            device=self.device.currentData(),
            preset=self.preset.currentData(),
            seed=self.seed.value(),
            settings=self.form.changes(),
            hold_out=not self.final.isChecked(),
        )

    def refresh(self) -> None:
        """Follow the state of the desk."""
        facts = self.desk.runs.facts()
        training = self.desk.training
        self.start.setText(outlook.start_title(facts))
        allow(self.start, outlook.why_not_train(facts, needs_labels=self._needs_labels))
        held = self.desk.survey.held_out
        allow(self.final, None if held else "No slice is held out: one in five will be, from five annotated ones on.")
        allow(self.pause, outlook.why_not_pause(facts))
        allow(self.stop, outlook.why_not_stop(facts))
        allow(self.predict, outlook.why_not_predict(facts))
        self.pause.setText("Resume" if training.phase is Phase.PAUSED else "Pause")
        if self.method.currentData() == "auto":
            self.summary.setText(self.desk.runs.auto_sentence())
        started = training.started
        # A run says itself what was picked, and what it learns is to be seen without scrolling.
        self.summary.setVisible(not (training.phase.active and started is not None))
        self.state.setText("" if started is None else f"{started.method} on {started.device}: {started.reason}")
        self.state.setVisible(started is not None)
        self.volumes.setText(outlook.which_volumes(facts))
        self.volumes.setVisible(bool(self.volumes.text()))
        self._on_progress()

    def _on_progress(self) -> None:
        training = self.desk.training
        self.bar.setValue(round(1000 * training.progress) if training.phase.active else 0)
        task = self._predicted() if training.phase is Phase.PREDICTING else training.task
        self.bar.setFormat(outlook.progress_text(training.phase, training.progress, training.remaining, task))
        self.plot.request()

    def _predicted(self) -> str:
        """Return the name of the volume that is being predicted."""
        names = {entry.id: entry.name for entry in self.desk.entries}
        return names.get(self.desk.training.volume, "")

    def begin(self) -> None:
        """Start a round with what is chosen here."""
        try:
            plan = self.plan()
        except ValidationError as error:
            self.desk.tell(f"These settings do not fit together: {error.errors()[0]['msg']}.", "error")
            return
        self.desk.runs.start(plan, self._needs_labels)

    @property
    def _spec(self) -> MethodSpec | None:
        """The chosen method, None for the automatic choice."""
        name = self.method.currentData()
        return next((entry for entry in self._methods if entry.name == name), None)

    @property
    def _needs_labels(self) -> bool:
        return self._spec is None or self._spec.needs_labels

    def _on_method(self, _: Any = None) -> None:
        spec = self._spec
        allow(self.start, outlook.why_not_train(self.desk.runs.facts(), needs_labels=self._needs_labels))
        small = self.device.currentData() == "cpu" or (
            self.device.currentData() == "auto" and not self.desk.runs.has_gpu
        )
        self.form.set_fields(() if spec is None else spec.fields_of(self.preset.currentData(), small=small))
        self.summary.setText(self.desk.runs.auto_sentence() if spec is None else spec.summary)

    def _choices(self) -> QWidget:
        box = QWidget()
        form = QFormLayout(box)
        form.setContentsMargins(0, 0, 0, 0)
        form.setSpacing(GAP)
        form.addRow("Method", self.method)
        form.addRow("Budget", row(self.budget, self.unit))
        form.addRow("Compute on", self.device)
        return box

    def _settings(self) -> QWidget:
        box = QWidget()
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setSpacing(GAP)
        form.addRow("Start from", self.preset)
        form.addRow("Seed", self.seed)
        box.setLayout(column(form, self.form))
        return box
