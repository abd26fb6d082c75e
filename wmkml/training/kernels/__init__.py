"""Kernels of training that are faster than the plain ones, where a device has them and they compute the same."""
