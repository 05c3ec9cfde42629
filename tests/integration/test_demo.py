"""The first command of the README, as it is."""

import json
from pathlib import Path

import pytest

from purer_lightning.cli import main


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_demos_meta_model_is_clearly_better_than_its_random_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "demo"
    main(["demo", "--run", str(run)])
    said = capsys.readouterr().out
    results = json.loads((run / "results.json").read_text())
    assert list(results) == [
        "random start, fine-tuned",
        "one teacher's features + nearest centroid",
        "meta-model",
        "meta-model + ICFIL",
    ]
    start, trained = results["random start, fine-tuned"], results["meta-model"]
    assert trained["mean"] - trained["ci95"] > start["mean"] + start["ci95"] + 0.05
    for name in ("config.yaml", "metrics.csv", "checkpoints/best.ckpt", "results.json", "pseudo_images.png"):
        assert (run / name).stat().st_size > 0
        assert name in said
    assert said.splitlines()[-1] == f"The report is {run / 'report.html'}: open it in a browser."
    report = (run / "report.html").read_text()
    assert all(f"{100 * row['mean']:.2f} ± {100 * row['ci95']:.2f}" in report for row in results.values())
    assert "random_<wbr>start" in report
    assert "<strong>Episode" in report
    pictures = ["--support", str(run / "pictures" / "support"), "--query", str(run / "pictures" / "query")]
    main(
        ["adapt", "--ckpt_path", str(run), *pictures, "--icfil", "true", "--output", str(tmp_path / "predictions.csv")]
    )
    assert 40 < float(capsys.readouterr().out.partition("Accuracy: ")[2].split()[0]) < 100  # guessing has 20
    assert all(f"{100 * row['mean']:.1f} ± {100 * row['ci95']:.1f}" in said for row in results.values())


def test_the_demo_replaces_an_earlier_demo_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").write_text("kept")
    with pytest.raises(SystemExit):
        main(["demo", "--run", str(tmp_path)])
    assert "--run" in capsys.readouterr().err
    assert (tmp_path / "thesis.tex").read_text() == "kept"
