"""How many photos a second does one core decode and resize: Pillow and `backend="fast"`, in full and scaled by DCT?

    python benchmarks/bench_image_decode.py [--repeats 7] [--json FOLDER]

Two photographs (scikit-learn's, 640x427), as JPEGs of 500x375 and, enlarged and with sensor noise added, 3000x2000;
both to 224x224. A figure is photos per second of CPU time, user and system, so that other work on the machine counts
less. Then: what two threads make of it (OpenCV's own as they are, and none), how far the pixels are from Pillow's, and
what glibc's allocation does to Pillow in processes of their own (page faults), with and without its thresholds raised.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from harness import interleaved, report
from PIL import Image
from sklearn.datasets import load_sample_images

import aioloader as al
from aioloader.types import SampleRef

if TYPE_CHECKING:
    from collections.abc import Callable

PILLOW = al.ImageDecoder(size=(224, 224))
FAST = replace(PILLOW, backend="fast")
DECODERS = {
    "Pillow": PILLOW,
    "Pillow, dct_scale": replace(PILLOW, dct_scale=True),
    "fast": FAST,
    "fast, no dct_scale": replace(FAST, dct_scale=False),
    "fast, no antialias": replace(FAST, antialias=False),
}
SAMPLE = SampleRef(index=0, key="photo.jpg")
CPU_SECONDS = 0.3  # for one figure
RAISED = {"MALLOC_MMAP_THRESHOLD_": str(1 << 28), "MALLOC_TRIM_THRESHOLD_": str(1 << 28)}


def photos() -> dict[str, list[bytes]]:
    """JPEGs by size."""
    made: dict[str, list[bytes]] = {}
    rng = np.random.default_rng(0)
    for size, quality, noise in (((500, 375), 90, 0), ((3000, 2000), 90, 6)):
        for pixels in load_sample_images().images:
            resized = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
            grainy = np.asarray(resized) + rng.normal(0, 1, (size[1], size[0], 1)) * noise
            buffer = io.BytesIO()
            Image.fromarray(grainy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
            made.setdefault(f"{size[0]}x{size[1]}", []).append(buffer.getvalue())
    return made


def decode_for(decoder: al.ImageDecoder, blobs: list[bytes], cpu_seconds: float) -> int:
    """Decode for ``cpu_seconds`` of this thread; how many photos."""
    out = np.empty((224, 224, 3), np.uint8)
    count = 0
    started = time.thread_time()
    while time.thread_time() - started < cpu_seconds:
        for blob in blobs:
            decoder.decode(blob, SAMPLE, None, out)
        count += len(blobs)
    return count


def per_core(decoder: al.ImageDecoder, blobs: list[bytes]) -> Callable[[], float]:
    def rate() -> float:
        started = time.process_time()
        count = decode_for(decoder, blobs, CPU_SECONDS)
        return count / (time.process_time() - started)

    return rate


def in_threads(decoder: al.ImageDecoder, blobs: list[bytes], threads: int) -> Callable[[], float]:
    """Photos per second of CPU time, ``threads`` threads sharing the work: less than one thread's is what they lose."""

    def rate() -> float:
        with ThreadPoolExecutor(threads) as pool:
            started = time.process_time()
            count = sum(pool.map(lambda _: decode_for(decoder, blobs, CPU_SECONDS), range(threads)))
            return count / (time.process_time() - started)

    return rate


def with_opencv_threads(count: int, rate: Callable[[], float]) -> Callable[[], float]:
    """``rate`` while OpenCV has ``count`` threads of its own."""

    def limited() -> float:
        before = cv2.getNumThreads()
        cv2.setNumThreads(count)
        try:
            return rate()
        finally:
            cv2.setNumThreads(before)

    return limited


def in_processes(photo: Path, processes: int, where: str, environment: dict[str, str]) -> Callable[[], float]:
    """Photos per second of CPU time with Pillow, in the main thread of ``processes`` processes or in another one."""

    def rate() -> float:
        command = [sys.executable, __file__, "--child", str(photo), "--where", where]
        children = [
            subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)
            for _ in range(processes)
        ]
        said = [json.loads(child.communicate()[0]) for child in children]
        faults[photo.stem, processes, where, bool(environment)] = said[0]["faults"]
        return float(np.mean([one["rate"] for one in said]))

    return rate


faults: dict[tuple[str, int, str, bool], float] = {}


def child(photo: Path, where: str) -> None:
    """Print the rate of a process of its own, and its page faults a photo."""
    blobs = [photo.read_bytes()]
    with ThreadPoolExecutor(1) as pool:

        def run(cpu_seconds: float) -> int:
            if where == "main":
                return decode_for(PILLOW, blobs, cpu_seconds)
            return pool.submit(decode_for, PILLOW, blobs, cpu_seconds).result()

        run(0.1)
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.process_time()
        count = run(2 * CPU_SECONDS)
        rate = count / (time.process_time() - started)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    print(json.dumps({"rate": rate, "faults": (after - before) / count}))


def distances(made: dict[str, list[bytes]]) -> str:
    """A table of how far each decoder's pixels are from Pillow's full decode."""
    lines = ["| photos | decoder | mean | 99th percentile | most | PSNR, dB |", "|---|---|---:|---:|---:|---:|"]
    cases = DECODERS | {"Pillow, area": replace(PILLOW, interpolation="area")}
    for size, blobs in made.items():
        expected = np.stack([PILLOW.decode(blob, SAMPLE) for blob in blobs]).astype(float)
        for name, decoder in cases.items():
            difference = np.abs(np.stack([decoder.decode(blob, SAMPLE) for blob in blobs]) - expected)
            if difference.any():
                noise = 10 * np.log10(255**2 / (difference**2).mean())
                lines.append(
                    f"| {size} | {name} | {difference.mean():.2f} | {np.percentile(difference, 99):.0f} "
                    f"| {difference.max():.0f} | {noise:.1f} |"
                )
    return "\n".join(lines)


def main() -> None:
    """Measure and print the tables."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--repeats", type=int, default=7)
    options.add_argument("--json", type=Path, help="a folder for the raw figures")
    options.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--where", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.child:
        child(chosen.child, chosen.where)
        return

    def show(title: str, cases: dict[str, Callable[[], float]], unit: str, name: str) -> None:
        json_path = chosen.json / f"image_decode_{name}.json" if chosen.json else None
        print(report(title, interleaved(cases, chosen.repeats), unit=unit, json_path=json_path) + "\n")

    made = photos()
    versions = {name: metadata.version(name) for name in ("simplejpeg", "opencv-python-headless")}
    print(", ".join(f"{name} {version}" for name, version in versions.items()) + "\n")
    for size, blobs in made.items():
        kilobytes = ", ".join(f"{len(blob) / 1000:.0f}" for blob in blobs)
        one_core = {name: with_opencv_threads(1, per_core(decoder, blobs)) for name, decoder in DECODERS.items()}
        show(f"{size} ({kilobytes} kB) to 224x224, one core", one_core, "photos/CPU s", size)
    for size, blobs in made.items():
        for name in ("Pillow", "fast"):
            threads = {
                f"{name}, {decoding} decoding, OpenCV {own}": with_opencv_threads(
                    own, in_threads(DECODERS[name], blobs, decoding)
                )
                for decoding in (1, 2)
                for own in ((1, 2) if name == "fast" else (1,))
            }
            show(f"{size}, {name}: threads", threads, "photos/CPU s", f"{size}_{name}_threads")
    print(f"### Distance from Pillow's full decode, in steps of 8 bits\n\n{distances(made)}\n")
    with tempfile.TemporaryDirectory() as folder:
        for size, blobs in made.items():
            photo = Path(folder) / f"{size}.jpg"
            photo.write_bytes(blobs[0])
            allocations = {
                f"{count} processes, {where} thread{', raised' if raised else ''}": in_processes(
                    photo, count, where, raised
                )
                for count in (1, 2)
                for where in ("main", "decode")
                for raised in ({}, RAISED)
            }
            show(f"{size}, Pillow in processes, glibc's thresholds", allocations, "photos/CPU s", f"{size}_malloc")
            lines = [f"{key[1:]}: {count:.0f}" for key, count in faults.items() if key[0] == size]
            print("Page faults a photo (processes, thread, raised): " + ", ".join(sorted(lines)) + "\n")


if __name__ == "__main__":
    main()
