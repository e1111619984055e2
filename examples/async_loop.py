"""`async for` over batches, on your own event loop: fetching and decoding never run on it.

    python examples/async_loop.py                           with 300 generated pictures from a local server
    python examples/async_loop.py gs://bucket/images/       with yours: any URL or folder with a folder for each class

It needs nothing but aioloader.
"""

import asyncio
import sys

from sample_data import sample_bucket

import aioloader as al


async def main(url: str) -> None:
    # Listing waits for the server: in a thread, so that this loop goes on meanwhile.
    data = await asyncio.to_thread(al.image_folder, url)

    async with al.AsyncLoader(data, decode=al.ImageDecoder(size=(48, 48)), batch_size=32) as loader:
        sample_count = pixel_bytes = 0
        async with asyncio.TaskGroup() as tasks:
            ticking = tasks.create_task(count_ticks())  # other work of yours on the same loop
            async for images, labels in loader:
                sample_count += len(labels)
                pixel_bytes += images.nbytes
            ticking.cancel()
        print(f"{sample_count} of {len(data)} samples in {len(loader)} batches, {pixel_bytes:,} bytes of pixels")

        # Leaving early is fine: `break`, an exception or a timeout end what is in flight.
        async for batch in loader:
            print(f"epoch {batch.epoch}, step {batch.step}: first samples {batch.sample_ids[:5]}, and away")
            break


async def count_ticks() -> None:
    ticks = 0
    try:
        while True:
            await asyncio.sleep(0.01)
            ticks += 1
    finally:
        print(f"the loop ticked {ticks} times meanwhile")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(main(sys.argv[1]))
    else:
        with sample_bucket() as url:
            asyncio.run(main(url))
