"""What is tried on this machine before it is used: which variant is fast, whether a device says what the CPU says."""
