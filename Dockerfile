# docker build --tag captcha_lib:all-gpu .
# docker run --gpus all --rm -p 8888:8888 captcha_lib:all-gpu
# The wheels of torch on PyPI for Linux carry their CUDA libraries: the host needs its driver and the NVIDIA container
# toolkit, the image no CUDA of its own. Without --gpus all the same image runs on the processor.
FROM python:3.11-slim-bookworm

RUN useradd --create-home --uid 1000 reader
WORKDIR /home/reader/captcha_lib

COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY captcha_lib captcha_lib
RUN pip install --no-cache-dir -c constraints.txt -e '.[dev]'

COPY --chown=1000 . .
RUN chown 1000 . data output
USER 1000
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser", "notebooks"]
