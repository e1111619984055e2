"""Images from an S3 bucket: AWS, or any service that speaks S3 (Ceph, MinIO, ...), by its endpoint.

    python examples/s3_bucket.py                                         with a local S3 server, if there is moto
    python examples/s3_bucket.py s3://bucket/train/                      with your bucket on AWS
    python examples/s3_bucket.py s3://bucket/train/ https://s3.host/     with your bucket elsewhere

Without an argument it needs moto: pip install 'moto[server]' boto3

Credentials come from where the AWS tools find them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment,
~/.aws, the machine's role. For a public bucket pass anonymous=True to al.S3Store.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sample_data import sample_folder

import aioloader as al


def main(url: str, endpoint: str | None = None) -> None:
    # On AWS, al.image_folder(url) alone does it; the store is where what differs from it is said.
    store = al.S3Store(endpoint=endpoint)
    data = al.image_folder(url, store=store)
    print(f"{data} by {store}")

    with al.Loader(data, decode=al.ImageDecoder(size=(48, 48)), batch_size=32, shuffle=True, seed=0) as loader:
        for step, (images, labels) in enumerate(loader):
            if step == 0:  # here is your training step
                print(f"images {images.dtype}{images.shape}, labels {labels.dtype}{labels.shape}")
        print(loader.report())


@contextmanager
def local_s3() -> Iterator[str]:
    """The endpoint of an S3 server in this process whose bucket "shapes" has the sample pictures below train/."""
    try:
        import boto3
        from moto.server import ThreadedMotoServer
    except ImportError:
        sys.exit("no moto here (pip install 'moto[server]' boto3): pass s3://bucket/prefix/ and maybe an endpoint")
    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # moto's web server logs every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="shapes")
        with sample_folder() as folder:
            for path in sorted(folder.glob("*/*.png")):
                key = "train/" + path.relative_to(folder).as_posix()
                client.put_object(Bucket="shapes", Key=key, Body=path.read_bytes())
        yield endpoint
    finally:
        server.stop()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(*sys.argv[1:3])
    else:
        with local_s3() as endpoint:
            main("s3://shapes/train/", endpoint)
