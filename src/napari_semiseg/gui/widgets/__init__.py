"""The widgets of the panel: they show what the desk says and tell it what the user did; they compute nothing."""
