"""Compare a word count (CSV on standard input) with what plain Python counts in a file."""

import csv
import sys
from collections import Counter
from pathlib import Path

source = Path(sys.argv[1])
with source.open(newline="") as file:
    rows = (row[0] for row in csv.reader(file) if row) if source.suffix == ".csv" else file
    if source.suffix == ".csv":
        next(rows)
    expected = Counter(word for text in rows for word in text.split())

result = list(csv.reader(sys.stdin))[1:]
counted = {word: int(number) for word, number in result}
if len(result) != len(counted) or counted != expected:
    sys.exit(f"{len(result):,} rows with {len(counted):,} words; Python finds {len(expected):,}")
total = f"{len(counted):,} words, {expected.total():,} in all"
sys.stdout.write(f"ok  {total}, as plain Python counts them\n")
