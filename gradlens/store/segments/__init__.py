"""Sealed segments: Parquet files in which no damage goes unseen, and which small files cannot make large."""

from gradlens.store.segments.reading import Segment, TooMuchError, names_in
from gradlens.store.segments.writing import parquet_bytes, write

__all__ = ["Segment", "TooMuchError", "names_in", "parquet_bytes", "write"]
