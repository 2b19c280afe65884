"""What strategies for GPUs share: how the items of a work-group read, meet and finish together."""
