# The kit with its notebooks, on a CPU; for CUDA name a PyTorch index:
#   docker build -t geneface-kit .
#   docker build -t geneface-kit --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
#   docker run --rm -p 8888:8888 -v "$PWD/runs:/kit/runs" -v "$PWD/data:/kit/data" geneface-kit
FROM python:3.11-slim-bookworm
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# libgl1, libegl1, libglib2.0-0: mediapipe and OpenCV; git: run.json names the commit
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libegl1 libglib2.0-0 git \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /kit
COPY . .
RUN pip install --no-cache-dir -c constraints.txt --extra-index-url "$TORCH_INDEX" \
    -e '.[notebooks,metrics,tests]'
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser", "--allow-root"]
