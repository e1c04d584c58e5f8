"""The networks of `checks/gpu.sh` in PyTorch, in plain f32: gpu_torch.py NAME BATCH.

Prints a line of JSON for the forward pass and one for a step: forward, cross-entropy, backward, SGD with
momentum. TensorFloat-32 is off: it keeps ten bits of a product's operands.
"""

import json
import sys

import torch
import torchvision

torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False
torch.backends.cudnn.benchmark = True

# Names there, where they differ. AlexNet is not the same network: torchvision's has no LRN and fewer outputs.
NAMES = {"vgg-d": "vgg16"}


def best_ms(run):
    for _ in range(3):
        run()
    times = []
    for _ in range(10):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return min(times)


def main():
    name, batch = sys.argv[1], int(sys.argv[2])
    network = getattr(torchvision.models, NAMES.get(name, name))(weights=None)
    network = network.cuda().to(memory_format=torch.channels_last)
    images = torch.randn(batch, 3, 224, 224, device="cuda").to(memory_format=torch.channels_last)
    labels = torch.randint(0, 1000, (batch,), device="cuda")
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)

    def forward():
        with torch.inference_mode():
            network(images)

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    for name_of, run, mode in (("forward", forward, False), ("step", step, True)):
        network.train(mode)
        print(json.dumps({"engine": "torch", "name": name, "batch": batch, "pass": name_of,
                          "min_ms": round(best_ms(run), 3)}), flush=True)


main()
