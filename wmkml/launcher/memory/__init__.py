"""How much memory a plan takes: a model's shape, and what each process holds on a device."""
