"""One gRPC client process: `PORT SECONDS LANES MESSAGE_IN_HEX`; prints the seconds that each call took."""

from __future__ import annotations

import asyncio
import sys
import time

import grpc.aio
import uvloop


async def main(port: str, seconds: str, lanes: str, message: str) -> None:
    """Call ModelInfer from several lanes until the time is over."""
    times: list[float] = []
    body = bytes.fromhex(message)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        await call(body)
        end = time.perf_counter() + float(seconds)

        async def lane() -> None:
            while (begun := time.perf_counter()) < end:
                await call(body)
                times.append(time.perf_counter() - begun)

        await asyncio.gather(*(lane() for _ in range(int(lanes))))
    print("\n".join(map(str, times)))


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
