# mypy: allow-untyped-decorators
"""Measure a trained model on the test examples, over all and by slice."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Markdown, Metrics, Model, Output

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)
def evaluate(
    domain: str,
    trained: Input[Model],
    test: Input[Dataset],
    evaluation: Output[Artifact],
    plots: Output[HTML],
    slices: Output[Markdown],
    metrics: Output[Metrics],
    curves: Output[ClassificationMetrics],
) -> None:
    """Metrics, curves or a confusion matrix, a page of plots and a table of slices, as Kubeflow shows them."""
    from pathlib import Path

    from hallmark.training import steps

    shown = steps.evaluate(
        domain,
        trained=Path(trained.path),
        test=Path(test.path),
        evaluation=Path(evaluation.path),
        plots=Path(plots.path),
        slices=Path(slices.path),
    )
    for name, value in shown["metrics"].items():
        metrics.log_metric(name, value)
    if shown["roc"]:
        curves.log_roc_curve(*shown["roc"])
    if shown["confusion"]:
        curves.log_confusion_matrix(*shown["confusion"])
