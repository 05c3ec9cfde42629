"""IcfilEvaluation: score a meta-model, or any baseline, on fixed real episodes, without and with ICFIL.

It knows no bank, no teacher and no curriculum, so nothing of training can leak into a number.
"""

import csv
import json
import time
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from lightning import LightningModule
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from purer_lightning.compute.backend import Engine, Run
from purer_lightning.episode import Episode
from purer_lightning.errors import PurerError
from purer_lightning.evaluation.icfil import CalibrationSettings
from purer_lightning.evaluation.metrics import ICFIL, PLAIN, EpisodeAccuracy, null_for_infinite, summarise
from purer_lightning.evaluation.scoring import score_episodes
from purer_lightning.files import replacing
from purer_lightning.learners.base import Learner
from purer_lightning.learners.features import FeatureLearner, of_network
from purer_lightning.learners.loading import check_meta_model
from purer_lightning.running.names import EPISODES, RESULTS

NUMERIC_REMEDIES = {
    PLAIN: "lower model.learner.init_args.inner_lr if the learner has one, or give a checkpoint that has not diverged",
    ICFIL: "lower evaluation.calibration.lr or raise evaluation.calibration.temperature",
}


class IcfilEvaluation(LightningModule):
    """Adapt to each episode's support set, optionally calibrate, score the query set.

    Args:
        learner: the meta-model or baseline, the same class and settings as in training.
        calibration: ICFIL's settings; ICFIL is left out for learners that are not ``calibratable``.
        report_at: numbers of episodes at which to report, each the first so many of the same list; 600 to compare
            with the literature, 2,000 to decide. Those larger than the list are left out; the whole list is always in.
        seed: every draw follows from it; linked to the run's seed.
        run: folder for results.json and episodes.csv; linked to the run folder.
        engine: chooses how it is computed; linked to the engine's section.

    Raises:
        PurerError: a value of ``calibration`` out of its range.
    """

    def __init__(
        self,
        learner: Learner,
        calibration: CalibrationSettings | None = None,
        report_at: list[int] | None = None,
        seed: int = 0,
        run: str = "runs/evaluation",
        engine: Engine | None = None,
    ) -> None:
        super().__init__()
        self.learner = learner
        self.calibration = calibration or CalibrationSettings()
        self.calibration.check()
        self.report_at = report_at or [600, 2000]
        self.seed = seed
        self.run = Path(run)
        self.engine = engine or Engine()
        methods = [PLAIN, ICFIL] if self.calibration.enabled and learner.calibratable else [PLAIN]
        self.accuracies = torch.nn.ModuleDict({method: EpisodeAccuracy() for method in methods})
        self.results: dict[str, Any] = {}
        self._started = 0.0

    def test_step(self, episodes: list[Episode], batch_idx: int) -> None:
        """Score each episode of the batch by itself; no episode sees another. As many at once as there are threads."""
        del batch_idx
        self._check_gradients()
        with torch.enable_grad():
            calibration = self.calibration if ICFIL in self.accuracies else None
            scored = self.learner.backend.fast(score_episodes)(self.learner, episodes, calibration, self.seed)
        for episode, scores in zip(episodes, scored, strict=True):
            for method, accuracy in scores.items():
                self._check_number(method, accuracy, episode)
                self._accuracy(method).update(episode.id, accuracy)

    def validation_step(self, episodes: list[Episode], batch_idx: int) -> None:
        """The same on meta-val, for choosing settings."""
        self.test_step(episodes, batch_idx)

    def on_test_start(self) -> None:
        """Represent each picture once, where a learner needs no more of it and the episodes would show it more often.

        2,000 episodes show CIFAR-FS's 12,000 pictures of meta-test 160,000 times at 1 shot, 200,000 times at 5.
        """
        trainer, learner = self.trainer, self.learner
        if not (isinstance(learner, FeatureLearner) and learner.represents_singly):
            return
        loader: Any = trainer.val_dataloaders if trainer.validating else trainer.test_dataloaders
        batches = trainer.num_val_batches if trainer.validating else trainer.num_test_batches
        episodes = min(int(batches[0]) * loader.batch_size, len(loader.sampler))
        shown = episodes * loader.dataset.pictures_an_episode
        if shown > loader.dataset.split.total and loader.num_workers == 0:  # workers have copies already
            loader.dataset.represent(partial(self._represented, learner))

    def on_validation_start(self) -> None:
        """The same on meta-val."""
        self.on_test_start()

    @torch.no_grad()
    def _represented(self, learner: FeatureLearner, images: Tensor) -> Tensor:
        precision = self.trainer.precision_plugin
        with precision.test_step_context():
            own = precision.convert_input(images.to(self.device))
            return learner.represent(own, of_network(learner.frozen_weights())).cpu()

    def _check_number(self, method: str, accuracy: Tensor, episode: Episode) -> None:
        """Raise PurerError for the accuracy of an episode with a logit that is not finite."""
        if accuracy.isnan():
            raise PurerError(
                f"Expected finite logits, but method '{method}' gave others on episode {episode.id}; "
                f"{NUMERIC_REMEDIES[method]}."
            )

    def on_test_epoch_end(self) -> None:
        """Log test/accuracy and test/ci95 (and those of ICFIL), write results.json and episodes.csv."""
        self._report("test")

    def on_validation_epoch_end(self) -> None:
        """The same for meta-val, under val/."""
        self._report("val")

    def _report(self, stage: str) -> None:
        by_method: dict[str, Tensor] = {}
        for method in self.accuracies:
            ids, accuracies = self._accuracy(method).per_episode()
            self._accuracy(method).reset()
            self._check_ids(stage, ids)
            by_method[method] = accuracies.cpu()
        self.results = self.describe() | {"minutes": (time.monotonic() - self._started) / 60}
        self.results["results"] = summarise(by_method, self.report_at)
        final = self.results["results"][-1]
        self.log_dict({f"{stage}/accuracy": final[PLAIN]["mean"], f"{stage}/ci95": final[PLAIN]["ci95"]})
        if ICFIL in final:
            self.log_dict(
                {f"{stage}/icfil_accuracy": final[ICFIL]["mean"], f"{stage}/icfil_ci95": final[ICFIL]["ci95"]}
            )
        if self.trainer.is_global_zero and not self.trainer.sanity_checking:
            self._write(ids.cpu(), by_method)

    def _check_ids(self, stage: str, ids: Tensor) -> None:
        """Raise PurerError unless exactly the data module's episodes were scored, or the first ones under a limit."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        total = data.test_episodes if stage == "test" else data.validation_episodes
        limit = self.trainer.limit_test_batches if stage == "test" else self.trainer.limit_val_batches
        limited = isinstance(limit, int) or limit < 1.0
        wanted = min(len(ids), total) if limited else total
        if ids.tolist() != list(range(wanted)):
            lower = f"lower data.{'test' if stage == 'test' else 'validation'}_episodes in place of a limit on batches"
            leave = "leave trainer.use_distributed_sampler false, since the data module shares the episodes out itself"
            raise PurerError(
                f"Expected the episodes 0 to {wanted - 1} to be scored, each once, but {len(ids)} were, with ids "
                f"{int(ids.min())} to {int(ids.max())}; {lower if limited else leave}."
            )

    def _write(self, ids: Tensor, by_method: dict[str, Tensor]) -> None:
        """Write results.json last: where it is, the row is whole."""
        self.run.mkdir(parents=True, exist_ok=True)
        with replacing(self.run / EPISODES) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["episode", *by_method])
            columns = [accuracies.tolist() for accuracies in by_method.values()]
            writer.writerows(zip(ids.tolist(), *columns, strict=True))
        shown = self.results | {"results": null_for_infinite(self.results["results"])}
        with replacing(self.run / RESULTS) as temporary:
            temporary.write_text(json.dumps(shown, indent=2, allow_nan=False) + "\n", encoding="utf-8")

    def describe(self) -> dict[str, Any]:
        """What was scored and how, in plain types: enough to tell two results apart."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]  # Lightning types it as absent
        calibrated = ICFIL in self.accuracies
        return {
            "meta_model": self.learner.describe(),
            "transductive": self.learner.batchnorm == "transductive",
            "checkpoint": str(self.trainer.ckpt_path) if self.trainer.ckpt_path else None,
            "dataset": data.dataset,
            "pool": data.pool,
            "split": "val" if self.trainer.validating else data.test_split,
            "way": data.way,
            "shot": data.shot,
            "query": data.query,
            "seed": self.seed,
            "precision": str(self.trainer.precision),
            "processes": self.trainer.world_size,
            "calibration": vars(self.calibration) | {"priors": vars(self.calibration.priors)} if calibrated else None,
        }

    def _accuracy(self, method: str) -> EpisodeAccuracy:
        return cast(EpisodeAccuracy, self.accuracies[method])  # a ModuleDict forgets what it holds

    def setup(self, stage: str) -> None:
        """Start the clock, and put the learner into the mode it is scored in."""
        del stage
        self.learner.eval()
        self._started = time.monotonic()

    def configure_model(self) -> None:
        """Build the learner for the shape of the data's tasks; the Trainer calls it once or more."""
        if self.learner.spec is None:
            trainer = self.trainer
            data = trainer.datamodule  # type: ignore[attr-defined]
            episodes = data.validation_episodes if trainer.validating else data.test_episodes
            run = Run(trainer.strategy.root_device, str(trainer.precision), episodes=episodes, learner=self.learner)
            backend = self.engine.backend(run)
            if backend.remark:
                rank_zero_info(backend.remark)
            with torch.device("cpu"):  # as in PurerModule
                self.learner.build(data.way, data.channels, data.image_size, self.seed, backend)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another network than the settings name, in one sentence instead of a key list.

        Raises:
            PurerError: see ``check_meta_model``.
        """
        check_meta_model(checkpoint, self.learner)

    def _check_gradients(self) -> None:
        if torch.is_inference_mode_enabled():
            raise PurerError(
                "Adaptation needs gradients, but the Trainer tests in inference mode; set trainer.inference_mode to "
                "false (the purer command does)."
            )
