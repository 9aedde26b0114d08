"""Writes suite.json and result.json beside itself: a suite of Great Expectations, and what Great Expectations 1.24.1 on pandas says of it
on the evalset of models/adult_mlp, in which three values of one column are missing.

usage: python make.py MODELS   (pip install great_expectations==1.24.1 safetensors)
"""

import json
import pathlib
import struct
import sys

import great_expectations as gx
import great_expectations.expectations as gxe
import numpy as np
import pandas as pd
from safetensors.numpy import load_file

HERE = pathlib.Path(__file__).parent
SLICES = {
    "age": ["<30", "30-44", "45-59", "60+"],
    "race": ["White", "Black", "Asian-Pac-Islander", "Amer-Indian-Eskimo", "Other"],
    "sex": ["Male", "Female"],
}


def table(path):
    tensors = load_file(path)
    raw = path.read_bytes()
    head = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])
    names = json.loads(head["__metadata__"]["meta"])["features"]
    frame = pd.DataFrame(tensors["inputs"], columns=names)
    frame["labels"] = tensors["labels"]
    for name, values in SLICES.items():
        frame["slice." + name] = [values[code] for code in tensors["slice." + name]]
    frame.loc[[3, 7, 11], "education-num"] = np.nan
    return frame


def expectations():
    return [
        gxe.ExpectTableRowCountToBeBetween(min_value=1000, max_value=10000),
        gxe.ExpectTableRowCountToEqual(value=5999),
        gxe.ExpectTableColumnCountToEqual(value=66),
        gxe.ExpectTableColumnCountToBeBetween(min_value=1, max_value=10),
        gxe.ExpectTableColumnsToMatchSet(column_set=["age", "labels"], exact_match=False),
        gxe.ExpectTableColumnsToMatchSet(column_set=["age", "labels"], exact_match=True),
        gxe.ExpectTableColumnsToMatchOrderedList(column_list=["age", "labels"]),
        gxe.ExpectColumnToExist(column="age"),
        gxe.ExpectColumnToExist(column="nothing"),
        gxe.ExpectColumnToExist(column="age", column_index=0),
        gxe.ExpectColumnToExist(column="age", column_index=1),
        gxe.ExpectColumnValuesToNotBeNull(column="education-num"),
        gxe.ExpectColumnValuesToNotBeNull(column="education-num", mostly=0.99),
        gxe.ExpectColumnValuesToBeNull(column="age", mostly=0.5),
        gxe.ExpectColumnValuesToBeBetween(column="education-num", min_value=-2, max_value=2, mostly=0.9),
        gxe.ExpectColumnValuesToBeBetween(column="hours-per-week", min_value=-2, max_value=2),
        gxe.ExpectColumnValuesToBeBetween(column="age", min_value=-3, strict_min=True, severity="warning"),
        gxe.ExpectColumnValuesToBeInSet(column="slice.sex", value_set=["Male", "Female"]),
        gxe.ExpectColumnValuesToBeInSet(column="labels", value_set=[0], mostly=0.5),
        gxe.ExpectColumnValuesToBeInSet(column="labels", value_set=[0], mostly=0.8, severity="info"),
        gxe.ExpectColumnValuesToNotBeInSet(column="labels", value_set=[2, 3]),
        gxe.ExpectColumnValuesToBeUnique(column="age"),
        gxe.ExpectColumnValuesToBeOfType(column="age", type_="float32"),
        gxe.ExpectColumnValuesToBeOfType(column="age", type_="int64"),
        gxe.ExpectColumnValuesToBeInTypeList(column="labels", type_list=["int64", "int32"]),
        gxe.ExpectColumnMeanToBeBetween(column="education-num", min_value=-0.1, max_value=0.1),
        gxe.ExpectColumnMedianToBeBetween(column="education-num", min_value=-0.01, max_value=0.01),
        gxe.ExpectColumnStdevToBeBetween(column="education-num", min_value=0.9, max_value=1.1),
        gxe.ExpectColumnMinToBeBetween(column="age", min_value=-3, max_value=0),
        gxe.ExpectColumnMaxToBeBetween(column="age", min_value=0, max_value=2),
        gxe.ExpectColumnSumToBeBetween(column="labels", min_value=0, max_value=1498, strict_max=True),
        gxe.ExpectColumnQuantileValuesToBeBetween(
            column="age",
            quantile_ranges={"quantiles": [0.1, 0.5, 0.9], "value_ranges": [[-2, 0], [-1, 1], [None, 1]]},
        ),
        gxe.ExpectColumnUniqueValueCountToBeBetween(column="slice.race", min_value=5, max_value=5),
        gxe.ExpectColumnProportionOfUniqueValuesToBeBetween(column="age", min_value=0.0, max_value=0.5),
        gxe.ExpectColumnDistinctValuesToBeInSet(column="slice.race", value_set=["White", "Black", "Other"]),
        gxe.ExpectColumnDistinctValuesToEqualSet(column="labels", value_set=[0, 1]),
        gxe.ExpectColumnDistinctValuesToContainSet(column="labels", value_set=[0, 2]),
        gxe.ExpectColumnKLDivergenceToBeLessThan(
            column="slice.sex", partition_object={"values": ["Male", "Female"], "weights": [0.6, 0.4]}, threshold=0.1
        ),
    ]


def plain(value):
    return value.item() if hasattr(value, "item") else str(value)


def write(name, value):
    (HERE / name).write_text(json.dumps(value, indent=1, default=plain, ensure_ascii=False) + "\n")


def main():
    frame = table(pathlib.Path(sys.argv[1]) / "adult_mlp/data/test.safetensors")
    context = gx.get_context(mode="ephemeral")
    asset = context.data_sources.add_pandas("p").add_dataframe_asset("a")
    batch = asset.add_batch_definition_whole_dataframe("b").get_batch(batch_parameters={"dataframe": frame})
    suite = gx.ExpectationSuite(name="adult")
    for expectation in expectations():
        suite.add_expectation(expectation)
    suite = context.suites.add(suite)
    write("suite.json", suite.to_json_dict())
    # Its own order goes by metrics; each expectation is asked by itself, so that the results are in the suite's.
    results = []
    for expectation in suite.expectations:
        seen = batch.validate(expectation).to_json_dict()
        results.append({"type": seen["expectation_config"]["type"], "success": seen["success"], "result": seen["result"]})
    write("result.json", results)


if __name__ == "__main__":
    main()
