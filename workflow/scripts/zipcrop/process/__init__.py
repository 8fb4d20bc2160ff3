"""The machine: locks, GPUs, memory, time, and processes that watch each other."""
