"""Configurations by bare name: looked for as a path, then in experiments/, then among those in the package."""

from importlib.resources import files
from pathlib import Path

from purer_lightning.errors import PurerError, nearest


def bundled_configs() -> dict[str, Path]:
    """Return the package's configurations by name, such as ``baselines/average.yaml``; those in folders come last."""
    folder = Path(str(files("purer_lightning"))) / "configs"
    paths = sorted(folder.rglob("*.yaml"), key=lambda path: (len(path.parts), path))
    return {path.relative_to(folder).as_posix(): path for path in paths}


def find_config(name: str) -> str:
    """Return the path of a configuration.

    Raises:
        PurerError: there is none of that name; the sentence lists the nearest name, or else all names.
    """
    bundled = bundled_configs()
    for path in (Path(name), Path("experiments") / name, bundled.get(name, Path(name))):
        if path.is_file():
            return str(path)
    near = nearest(name, bundled)
    raise PurerError(
        f"There is no configuration '{name}': not as a file, not in experiments/, and not among the bundled ones"
        + (f", which purer configs lists.{near}" if near else f" ({', '.join(bundled)}).")
    )


def resolve_configs(words: list[str]) -> list[str]:
    """Replace what follows --config (or stands in --config=...) by the path that ``find_config`` finds."""
    resolved: list[str] = []
    for word in words:
        if resolved and resolved[-1] == "--config":
            resolved.append(find_config(word))
        elif word.startswith("--config="):
            resolved.append(f"--config={find_config(word.removeprefix('--config='))}")
        else:
            resolved.append(word)
    return resolved


def list_configs() -> None:
    """Print the bundled configurations, each with its first comment line."""
    bundled = bundled_configs()
    width = max(map(len, bundled))
    for name, path in bundled.items():
        first = path.read_text(encoding="utf-8").splitlines()[0]
        print(f"{name:<{width}}  {first.lstrip('# ')}")


def show_config(name: str) -> None:
    """Print one configuration.

    Args:
        name: such as cifar_fs.yaml.
    """
    print(Path(find_config(name)).read_text(encoding="utf-8"), end="")
