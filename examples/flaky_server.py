"""A server that refuses requests, and a cache on disk: every sample comes once, and most only once over the network.

    python examples/flaky_server.py                                  with 300 generated pictures from a bad server
    python examples/flaky_server.py https://host/images/ /scratch    with yours; the cache is made in /scratch/aioloader

It needs nothing but aioloader.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from sample_data import sample_folder

import aioloader as al
from aioloader.serve import Manners, serve_in_thread


def main(url: str, cache: Path) -> None:
    data = al.image_folder(url)
    decode = al.ImageDecoder(size=(48, 48))

    # What fails and may pass is asked for again: here up to ten times within ten minutes. `attempts=1` never does.
    patient = al.Retry(attempts=10, deadline_s=600)

    # What was fetched is kept in the directory, checked at each read, until it is full; nothing is evicted. Other
    # loaders, processes and later runs may share it. `aioloader cache stat DIR` says what is in it.
    for run in ("first", "second"):
        with al.Loader(data, decode=decode, batch_size=32, retry=patient, cache=cache, cache_size="1GB") as loader:
            ids = [index for batch in loader for index in batch.sample_ids.tolist()]
        found = loader.stats().cache
        print(f"{run} run: {len(set(ids))} of {len(data)} samples, {found.hit_share:.0%} of them from the cache")
    print(loader.report())


if __name__ == "__main__":
    if len(sys.argv) > 2:
        main(sys.argv[1], Path(sys.argv[2]) / "aioloader")
    else:
        # One request in ten is refused, and one in a hundred takes longer than 100 ms.
        manners = Manners(latency_s=0.01, latency_p99_s=0.1, error_rate=0.1)
        with (
            sample_folder() as folder,
            TemporaryDirectory(prefix="aioloader-example-") as scratch,
            serve_in_thread(folder, manners) as bucket,
        ):
            main(bucket.url, Path(scratch) / "cache")
