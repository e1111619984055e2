"""Files that cannot be read: skipped loudly, written down, and left out of the next run.

    python examples/skip_and_ledger.py                      with generated pictures, three of them broken on purpose
    python examples/skip_and_ledger.py /data/photos         with yours: any URL or folder; writes ./skipped.jsonl

It needs nothing but aioloader.
"""

import sys
from pathlib import Path

import numpy as np
from sample_data import sample_folder

import aioloader as al


def main(url: str, ledger: Path) -> None:
    data = al.image_folder(url)
    decode = al.ImageDecoder(size=(48, 48))

    # The default, on_error="raise", ends the run at the first bad file, and names it.
    try:
        with al.Loader(data, decode=decode, batch_size=32) as loader:
            for _ in loader:
                pass
    except al.errors.SampleError as error:
        print(f"raise: {error}")

    # "skip" keeps every batch's shape: a good sample of the same batch stands in, and `valid` is False there.
    # More than max_error_rate of bad samples is no longer an accident, and raises.
    with al.Loader(data, decode=decode, batch_size=32, on_error="skip", max_error_rate=0.05, ledger=ledger) as loader:
        for batch in loader:
            images, labels = batch
            if not batch.valid.all():
                good_images, good_labels = images[batch.valid], labels[batch.valid]
                print(f"skip: step {batch.step}: {len(good_images)} good images of classes {np.unique(good_labels)}")
        for entry in loader.skipped:
            print(f"skip: {entry.key}: {entry.error}")

    # The ledger is a file of JSON lines, written when there is something to write. As skip_list= it leaves those
    # samples out before the order is made.
    skip_list = ledger if ledger.exists() else ()
    with al.Loader(data, decode=decode, batch_size=32, skip_list=skip_list) as loader:
        sample_count = sum(len(batch.sample_ids) for batch in loader)
    print(f"next run: {sample_count} of {len(data)} samples, none of them bad")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1], Path("skipped.jsonl"))
    else:
        with sample_folder() as folder:
            (folder / "circle" / "0003.png").write_bytes(b"")
            (folder / "square" / "0004.png").write_bytes(b"not a picture")
            whole = (folder / "triangle" / "0005.png").read_bytes()
            (folder / "triangle" / "0005.png").write_bytes(whole[: len(whole) // 2])
            main(str(folder), folder / "skipped.jsonl")
