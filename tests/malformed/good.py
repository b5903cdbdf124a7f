"""The good files that malformed ones are made of."""
import json
import os

FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures")
MODELS = os.path.join(FIXTURES, "models")


def read(*parts):
    with open(os.path.join(*parts), "rb") as file:
        return file.read()


def read_json(*parts):
    return json.loads(read(*parts))
