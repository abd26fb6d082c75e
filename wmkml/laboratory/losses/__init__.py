"""The losses of any training, read and drawn: run folders, Hugging Face's trainer, TensorBoard, CSV.

`read_losses()` in `reading.py` gives a DataFrame, `loss_figure()` in `figures.py` a figure, `loss_plot()` in `terminal.py`
text; `follow()` in `following.py` reads again whenever something was written.
"""
