"""The notebook: a cell magic for scenarios, and an explorer with sliders."""
