"""Starting the installation: what this machine has, what runs where, and the processes under supervision.

The services are programs here, started by their door scripts and asked over HTTP; none of them is imported, nor torch.
"""
