"""What commands print: JSON that every reader of JSON accepts."""

import json
import math

from vqvae.cli.printing import as_json


def test_json_has_null_for_numbers_that_are_not_finite_and_every_other_value_as_it_is() -> None:
    value = {"a": math.inf, "b": [-math.inf, 1.5, None], "c": {"d": math.nan, "e": (1, True, "inf")}}
    assert json.loads(as_json(value)) == {
        "a": None,
        "b": [None, 1.5, None],
        "c": {"d": None, "e": [1, True, "inf"]},
    }
    assert value["a"] == math.inf
