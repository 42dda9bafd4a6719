"""Admission: whether calls that run notice how many are refused."""
