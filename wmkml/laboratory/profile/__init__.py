"""A profile of collapse: what each definition of the field says of the same runs, with intervals, never one number."""
