"""Reads one SQL statement from standard input, runs it in DuckDB and prints each row as a line of JSON.

Doubles are printed as their 16 hexadecimal digits of bits, so that nothing is lost; blobs in hexadecimal.
"""

import json
import struct
import sys

import duckdb


def plain(value):
    if isinstance(value, float):
        return struct.pack(">d", value).hex()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


for row in duckdb.connect().execute(sys.stdin.read()).fetchall():
    print(json.dumps([plain(value) for value in row]))
