"""Which column is the label, and what its values mean: by one rule, never by guess."""

import numpy as np
import pytest

from vqvae.data.labels import label_column, numbered
from vqvae.errors import UserError


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"label": "integer"}, "label"),
        ({"width": "integer", "height": "integer"}, None),
        ({"width": "integer"}, None),
        ({"caption": "string"}, None),
        ({"is_cat": "bool"}, None),
        ({"class": "string", "width": "integer"}, "class"),
        ({"label": "bool"}, "label"),
        ({"species": "classes", "width": "integer"}, "species"),
        ({"label": "integer", "species": "classes"}, "label"),
        ({"coarse_label": "classes", "fine_label": "classes"}, "fine_label"),
        ({"coarse_label": "integer"}, "coarse_label"),
        ({"label": "other"}, None),
        ({}, None),
    ],
)
def test_a_label_lists_its_classes_or_is_called_a_label(columns, found):
    chosen = label_column(columns, None, "t.parquet")
    assert chosen.name == found
    if columns and found is None:
        assert all(name in chosen.left_out[0] for name in columns)
        assert ("--data.label COLUMN" in chosen.left_out[0]) == (set(columns.values()) != {"other"})


def test_a_column_that_is_named_is_the_label():
    columns = {"label": "integer", "width": "integer", "boxes": "other"}
    assert label_column(columns, "width", "t").name == "width"
    for wrong in ("boxes", "wdth"):
        with pytest.raises(UserError, match=f"^t: --data.label {wrong}: no such column"):
            label_column(columns, wrong, "t")


def test_labels_that_are_passed_over_are_named():
    columns = {"coarse_label": "classes", "fine_label": "classes", "width": "integer"}
    assert label_column(columns, None, "t").left_out == ("the labels in coarse_label",)
    with pytest.raises(UserError, match=r"^t has several columns of classes \(age, sex\): pass --data\.label"):
        label_column({"age": "classes", "sex": "classes"}, None, "t")


@pytest.mark.parametrize(
    ("values", "names", "labels", "classes"),
    [
        ([2, 0, 1], None, [2, 0, 1], ("0", "1", "2")),
        ([1, 0, 1], ["ant", "bee", "cat"], [1, 0, 1], ("ant", "bee", "cat")),
        (["dog", "cat", "dog"], None, [1, 0, 1], ("cat", "dog")),
        ([True, False, True], None, [1, 0, 1], ("false", "true")),
        ([-1, -1, -1], ["ant", "bee"], None, ()),
    ],
)
def test_values_become_numbers_of_classes(values, names, labels, classes):
    found, named = numbered(np.asarray(values), "t", names)
    assert (None if found is None else found.tolist()) == labels
    assert named == classes


@pytest.mark.parametrize(
    ("values", "message"),
    [([0, 3], "label 3 in row 1 is not one of its 2 classes"), ([0, -1], "label -1 in row 1"), ([0.5], "float64")],
)
def test_values_that_are_no_classes(values, message):
    with pytest.raises(UserError, match=message):
        numbered(np.asarray(values), "t", ["ant", "bee"])
