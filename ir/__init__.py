"""The intermediate representations of lossc."""
