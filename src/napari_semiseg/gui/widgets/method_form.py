"""A form for the settings of a method, built from its fields."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from qtpy.QtCore import QRegularExpression
from qtpy.QtGui import QRegularExpressionValidator
from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QFormLayout, QLineEdit, QSpinBox, QWidget

from napari_semiseg.gui.catalogue import FieldSpec
from napari_semiseg.gui.widgets.pieces import GAP, number, whole


class MethodForm(QWidget):
    """Fields with bounds, steps and tooltips; `changes` tells those that differ from their defaults."""

    def __init__(self, fields: Sequence[FieldSpec] = (), parent: QWidget | None = None):
        super().__init__(parent)
        self.fields: dict[str, tuple[FieldSpec, QWidget]] = {}
        self.form = QFormLayout(self)
        self.form.setContentsMargins(0, 0, 0, 0)
        self.form.setSpacing(GAP)
        self.form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.set_fields(fields)

    def set_fields(self, fields: Sequence[FieldSpec]) -> None:
        """Show the fields of another method."""
        while self.form.rowCount():
            self.form.removeRow(0)
        self.fields = {}
        for spec in fields:
            if spec.fixed or spec.kind == "other":
                continue
            widget = editor(spec)
            widget.setToolTip(f"{spec.text}. Default: {spec.default}.")
            self.form.addRow(spec.title, widget)
            label = self.form.labelForField(widget)
            if label is not None:
                label.setToolTip(widget.toolTip())
            self.fields[spec.name] = (spec, widget)

    def changes(self) -> dict[str, Any]:
        """Return the values that differ from the defaults."""
        found = {}
        for name, (spec, widget) in self.fields.items():
            value = value_of(widget)
            if value != comparable(spec.default) and not (
                isinstance(value, float) and math.isclose(value, float(spec.default), rel_tol=1e-9)
            ):
                found[name] = value
        return found

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Show values, such as those of an earlier round."""
        for name, value in values.items():
            if name in self.fields:
                put_value(self.fields[name][1], value)


def comparable(default: Any) -> Any:
    """Return a default in the type that `value_of` gives."""
    return list(default) if isinstance(default, tuple | list) else default


def decimals(spec: FieldSpec) -> int:
    """Return how many decimals show a default and its step in full, so that 0.001 is never shown as 0.0."""
    return max(2, min(8, -math.floor(math.log10(spec.step)) if spec.step < 1 else 0))


def editor(spec: FieldSpec) -> QWidget:
    """Return the input widget of a field."""
    if spec.kind == "bool":
        check = QCheckBox()
        check.setChecked(bool(spec.default))
        return check
    if spec.kind == "choice":
        combo = QComboBox()
        combo.addItems(list(spec.choices))
        combo.setCurrentText(str(spec.default))
        return combo
    low = -1e9 if spec.low is None else spec.low
    high = 1e9 if spec.high is None else spec.high
    if spec.kind == "int":
        return whole(int(spec.default), int(low), int(high), spec.text, step=max(1, int(spec.step)))
    if spec.kind == "float":
        return number(float(spec.default), low, high, spec.text, step=spec.step, decimals=decimals(spec))
    text = QLineEdit(" ".join(str(part) for part in spec.default))
    text.setValidator(QRegularExpressionValidator(QRegularExpression(r"\d{1,4}([ ,]+\d{1,4})*")))
    return text


def value_of(widget: QWidget) -> Any:
    """Return the value of an input widget."""
    if isinstance(widget, QCheckBox):
        return widget.isChecked()
    if isinstance(widget, QComboBox):
        return widget.currentText()
    if isinstance(widget, QSpinBox | QDoubleSpinBox):
        return widget.value()
    assert isinstance(widget, QLineEdit)
    return [int(part) for part in widget.text().replace(",", " ").split()]


def put_value(widget: QWidget, value: Any) -> None:
    """Set the value of an input widget."""
    if isinstance(widget, QCheckBox):
        widget.setChecked(bool(value))
    elif isinstance(widget, QComboBox):
        widget.setCurrentText(str(value))
    elif isinstance(widget, QSpinBox):
        widget.setValue(int(value))
    elif isinstance(widget, QDoubleSpinBox):
        widget.setValue(float(value))
    elif isinstance(widget, QLineEdit):
        widget.setText(" ".join(str(part) for part in value))
