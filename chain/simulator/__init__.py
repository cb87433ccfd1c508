"""A network of validators in one thread, from one number: clock, network, disks and faults are
drawn from a seed, so that a run that fails can be run again."""
