"""High water at the lighthouse, roughly."""


def high_water(day: int) -> float:
    """Hours after midnight; the moon is 50 minutes late each day."""
    return (day * 50 / 60) % 12.42
