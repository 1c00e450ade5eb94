"""What gradlens costs, beside what others cost for the same numbers; `make bench-store` runs it."""
