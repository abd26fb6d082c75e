"""What this machine is and how a program lives on it: GPUs, cores, memory, a display, sockets, files, processes."""
