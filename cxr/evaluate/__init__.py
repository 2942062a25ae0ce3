"""Measures of generated radiographs, for programs as well as for the command line.

    from cxr.evaluate import evaluate_folder, compare_folders, write_report

    evaluation = evaluate_folder("generated", reference="real")
    evaluation.figure("distances", "small", "generated", "KD")   # a MetricResult: value, low, high, numbers of images
    write_report(evaluation.report, Path("REPORT"), evaluation.pictures)

The metrics on arrays are public functions of `cxr.metrics`; those below are the ones that papers name.
"""

from cxr.evaluate.evaluation import Evaluation, Options, evaluate
from cxr.evaluate.from_folders import compare_folders, evaluate_folder
from cxr.evaluate.image_set import ImageSet, read_set
from cxr.evaluate.report.write import write_comparison, write_report
from cxr.evaluate.sets import Sets
from cxr.evaluate.tools import default_tools
from cxr.metrics.diversity import mean_pairwise_distance, vendi_score
from cxr.metrics.frechet import frechet_distance, frechet_infinity
from cxr.metrics.kernel import gaussian_mmd, kernel_distance
from cxr.metrics.neighbours import measure_neighbourhoods
from cxr.metrics.result import MetricResult
from cxr.metrics.sample import Sample

__all__ = [
    "Evaluation",
    "ImageSet",
    "MetricResult",
    "Options",
    "Sample",
    "Sets",
    "compare_folders",
    "default_tools",
    "evaluate",
    "evaluate_folder",
    "frechet_distance",
    "frechet_infinity",
    "gaussian_mmd",
    "kernel_distance",
    "mean_pairwise_distance",
    "measure_neighbourhoods",
    "read_set",
    "vendi_score",
    "write_comparison",
    "write_report",
]
