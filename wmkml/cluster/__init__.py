"""Starting the installation: what this machine has, what runs where, and the processes under supervision.

Knows the services as programs to start, by their door scripts; imports none of them, and no torch.
"""
