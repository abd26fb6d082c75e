"""The laboratory: runs without services, to measure how a language dies under given settings.

It plays rounds with the cluster's own selection, training and generation, one after another in one process, and writes
a run folder of the same form.
"""
