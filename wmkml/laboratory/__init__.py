"""The laboratory: the loop of the installation without services, to measure how a language dies under given settings.

It plays rounds with the choosing, training and generating of the cluster, one after another in one process, and writes
what happened in the form of a run's folder.  Knows no service, no clock and no visitor of flesh.
"""
