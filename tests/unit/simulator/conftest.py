from support.dialling import dial

__all__ = ["dial"]
