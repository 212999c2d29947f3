"""What a run is told: a tree of settings, from YAML and --set, written into its checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from aam_edge.errors import UsageError
from aam_edge.settings import at_least, section, setting, within_one
from aam_edge.training.batch import BatchConfig
from aam_edge.training.objective import Shares


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """What teaches."""

    sets: tuple[str, ...] = setting(
        (),
        "data sets: a name of the AAM corpus, native:DIR, coco:DIR, boxes:DIR, "
        "classes:DIR, shards:INDEX",
    )
    root: str = setting(".", "folder of the AAM corpus")
    val: tuple[str, ...] = setting(
        (), "data sets of the validation; default: those of sets; none: no validation"
    )
    val_photos: int = setting(500, "photos or clips of each set in a validation at most")
    photos: str | None = setting(None, "folder with photos/, photos_more/ and data/, see heat")
    heat: str | None = setting(None, "a detector's heat maps of these photos, .npz")
    words: str | None = setting(None, "a classifier's probabilities for these photos, .npz")
    views: str | None = setting(None, "a teacher's views of the photos, .npz; mixed with people's")
    views_weight: float = setting(0.5, "weight of these views; below 1, the weight of people's own")
    workers: int = setting(1, "processes that decode and augment; 0: none beside the training")
    queue: int = setting(4, "batches that wait for the network, of each worker")

    def __post_init__(self) -> None:
        at_least("data.workers", self.workers, 0)
        if not 0 < self.views_weight < 1:
            value = f"data.views_weight={self.views_weight}"
            raise UsageError("setting is out of range", value, "give more than 0, less than 1")
        at_least("data.queue", self.queue, 1)
        at_least("data.val_photos", self.val_photos, 1)
        if not (self.sets or self.photos):
            todo = "give --set data.sets=native:DIR, or see docs/guides/train.md"
            raise UsageError("nothing to learn from", "data.sets is empty", todo)
        if self.photos and not self.heat:
            raise UsageError("photos need a detector's heat", "data.heat is empty", "give an .npz")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Which network learns, and how much of it."""

    size: str = setting("nano", "of the network: nano, s, b or l")
    clip: str = setting("clip-text", "imported CLIP that reads prompts for s, b and l")
    without: tuple[str, ...] = setting((), "pieces of the decoder's geometry that are left out")
    frozen_stages: int = setting(2, "first stages of the body that stay as they are")
    held_epochs: int = setting(0, "first epochs in which the whole body stays as it is")
    drop: float = setting(0.1, "part of the body's channels silenced in training, 0 to 1")

    def __post_init__(self) -> None:
        at_least("model.frozen_stages", self.frozen_stages, 0)
        at_least("model.held_epochs", self.held_epochs, 0)
        at_least("model.drop", self.drop, 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraConfig:
    """Low-rank updates of a transformer's linear layers; its own weights stay as they are."""

    rank: int = setting(0, "of the updates; 0: none")
    alpha: float = setting(16.0, "updates are scaled by alpha / rank")
    targets: tuple[str, ...] = setting(("qkv", "proj"), "ends of the names of layers that get one")

    def __post_init__(self) -> None:
        at_least("lora.rank", self.rank, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipsConfig:
    """Clips, in which the density lives from frame to frame."""

    every: int = setting(1, "batches of photos between two of clips; 0: no clips")
    batch: int = setting(2, "clips in a batch, over all devices")
    frames: int = setting(16, "of a clip")
    span: int = setting(8, "frames that gradients go back through; longer clips go on behind")
    generated: float = setting(
        0.5, "part of the clips made of photos: pan, zoom, shake, cut (all, if there are no videos)"
    )
    cuts: float = setting(0.3, "part of the generated clips with a cut to another photo")
    most_gap: int = setting(3, "frames from one to the next that is shown, at most")

    def __post_init__(self) -> None:
        at_least("clips.every", self.every, 0)
        for name in ("batch", "frames", "span", "most_gap"):
            at_least(f"clips.{name}", getattr(self, name), 1)
        within_one("clips.generated", self.generated)


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundConfig:
    """The sound of audio-visual clips."""

    after_epochs: int = setting(10, "epochs without sound at first")
    rate: float = setting(0.3, "learning rate of hearing as a part of the decoder's")

    def __post_init__(self) -> None:
        at_least("sound.after_epochs", self.after_epochs, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimiserConfig:
    """AdamW with warm-up and cosine, and the running average of the weights."""

    learning_rate: float = setting(5e-4, "of the decoder, at its highest")
    body_rate: float = setting(0.05, "learning rate of the body as a part of the decoder's")
    weight_decay: float = setting(2e-2, "of all but single numbers")
    warm_up_epochs: float = setting(0.3, "in which the learning rate rises")
    lowest_rate: float = setting(0.0, "learning rate at the end, as a part of the highest")
    average_decay: float = setting(0.998, "of the running average, a step")
    most_gradient: float = setting(5.0, "norm at which gradients are clipped")

    def __post_init__(self) -> None:
        at_least("optimiser.learning_rate", self.learning_rate, 1e-9)
        at_least("optimiser.warm_up_epochs", self.warm_up_epochs, 0.0)
        at_least("optimiser.most_gradient", self.most_gradient, 1e-6)


@dataclass(frozen=True, kw_only=True, slots=True)
class DistilConfig:
    """A teacher whose densities the network is drawn to, photo by photo."""

    teacher: str | None = setting(None, "a packaged network, weights file or checkpoint; none")
    share: float = setting(0.5, "weight of the divergence from the teacher")


@dataclass(frozen=True, kw_only=True, slots=True)
class DevicesConfig:
    """Where it runs; one machine or many, with the same words otherwise."""

    accelerator: Literal["auto", "cpu", "gpu"] = setting("auto", "what computes")
    devices: int = setting(1, "devices (or processes) on each machine; 0: all")
    nodes: int = setting(1, "machines; each is told its rank by torchrun, Slurm or MPI")
    strategy: Literal["auto", "ddp", "fsdp"] = setting(
        "auto", "ddp: whole network on each device; fsdp: weights dealt out"
    )
    precision: Literal["auto", "32", "bf16"] = setting("auto", "bf16 on GPUs, 32 on CPUs")
    channels_last: bool = setting(True, "memory order that convolutions like")
    threads: int = setting(0, "of each process on a CPU; 0: as torch has it")

    def __post_init__(self) -> None:
        at_least("devices.devices", self.devices, 0)
        at_least("devices.nodes", self.nodes, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class SaveConfig:
    """What a run leaves behind as it goes."""

    minutes: float = setting(3.0, "between two checkpoints; one at the end of each epoch besides")
    steps: int | None = setting(None, "and after so many steps")
    evaluate_every: int = setting(1, "epochs between two validations")
    tensorboard: bool = setting(True, "event files for TensorBoard, where tensorboardX is there")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportConfig:
    """The page that tells how a run went."""

    photos: int = setting(6, "best and worst photos drawn, of each")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """Everything a run is told."""

    out: str = setting("runs/fit", "folder of checkpoint, log and report")
    start: str = setting(
        "nano",
        "weights to begin with: a packaged network, .safetensors, .pt, .pth; random; for s, b and "
        "l what aam-edge weights import made, such as dinov3-s or released-s",
    )
    epochs: int = setting(20, "how often every photo is seen")
    steps: int | None = setting(None, "batches of photos in an epoch; default: all photos once")
    small_epochs: int = setting(0, "first epochs, in which inputs have half the sides")
    seed: int = setting(0, "of everything that is drawn")
    data: DataConfig = section(DataConfig)
    model: ModelConfig = section(ModelConfig)
    lora: LoraConfig = section(LoraConfig)
    drawing: BatchConfig = section(BatchConfig)
    clips: ClipsConfig = section(ClipsConfig)
    sound: SoundConfig = section(SoundConfig)
    loss: Shares = section(Shares)
    optimiser: OptimiserConfig = section(OptimiserConfig)
    distil: DistilConfig = section(DistilConfig)
    devices: DevicesConfig = section(DevicesConfig)
    save: SaveConfig = section(SaveConfig)
    report: ReportConfig = section(ReportConfig)

    def __post_init__(self) -> None:
        at_least("epochs", self.epochs, 1)
        at_least("steps", self.steps, 1)
        at_least("seed", self.seed, 0)


def as_plain(config: RunConfig) -> dict[str, Any]:
    """The tree as maps, texts and numbers, for checkpoint and report."""
    return {key: _plain(value) for key, value in asdict(config).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value
