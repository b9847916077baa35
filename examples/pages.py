"""Fetch pages from a web server with a pool, and append what comes to one file: the classic of `apply_async`.

    python examples/pages.py                   on multiprocessing
    procession run examples/pages.py           the same program on procession

The server is a local one that this program starts, and some pages are not there. Workers fetch;
the callback, which runs in the parent and nowhere else, writes, so nobody has to lock the file.
"""

import argparse
import http.server
import threading
import urllib.error
import urllib.request
from multiprocessing import Pool
from pathlib import Path


class Pages(http.server.BaseHTTPRequestHandler):
    """A site of numbered pages, of which every tenth is missing."""

    def do_GET(self):  # noqa: D102
        number = int(self.path.strip("/"))
        if number % 10 == 7:
            self.send_error(404)
            return
        body = f"This is page {number}.\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):  # noqa: D102
        pass


def fetch(address):
    # Not through a proxy: the server is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=30) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        # An HTTPError does not survive pickling: the standard library's pool would wait for it for ever.
        raise LookupError(address, error.code) from None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-p", "--processes", type=int, default=4)
    parser.add_argument("-n", "--pages", type=int, default=200)
    parser.add_argument("-o", "--output", type=Path, default=Path("pages.txt"))
    arguments = parser.parse_args()

    missing = []

    def not_found(error):
        missing.append(error.args[0])

    with Pool(arguments.processes) as pool, arguments.output.open("w") as file:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for number in range(arguments.pages):
            address = f"http://127.0.0.1:{server.server_port}/{number}"
            pool.apply_async(fetch, (address,), callback=file.write, error_callback=not_found)
        pool.close()
        pool.join()
        server.shutdown()
        server.server_close()

    there = [number for number in range(arguments.pages) if number % 10 != 7]
    lines = arguments.output.read_text().splitlines()
    if sorted(lines) != sorted(f"This is page {number}." for number in there):
        raise SystemExit("a page is missing")
    if len(missing) != arguments.pages - len(there):
        raise SystemExit(f"{len(missing)} pages were not there")
    print(f"{len(lines)} pages, {len(missing)} not there")


if __name__ == "__main__":
    main()
