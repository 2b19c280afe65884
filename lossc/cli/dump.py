def dump(file: str) -> None:
    """x"""
