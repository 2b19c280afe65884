"""One step of training as a program: parameters and optimizer state on the device, clipping, checkpoints."""
