# The project with its locked packages, for the steps on a cluster and for --serve; docs/operations.md, "The image"
ARG BASE=docker.io/library/python:3.11-slim-bookworm
FROM ${BASE}

# first, because it changes least; an index of your own comes as a secret, which does not stay: --secret id=pip,src=pip.conf
COPY requirements-image.lock /tmp/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf python3 -m venv /opt/packages && \
    /opt/packages/bin/python -m pip install --quiet --no-cache-dir --require-hashes -r /tmp/requirements-image.lock

# what OpenCV's wheel takes from the system
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends libgl1 libglib2.0-0 libxcb1 && \
    rm -rf /var/lib/apt/lists/*

ENV PATH=/opt/packages/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/home/app \
    ZENML_CUSTOM_SOURCE_ROOT=/app \
    ZENML_ENABLE_REPO_INIT_WARNINGS=false

# what runs writes there, whatever user a cluster gives it
WORKDIR /app
RUN useradd --uid 1000 --home-dir /home/app app && \
    install -d -m 1777 /home/app /app/.state /app/reports /app/predictions /app/served
COPY . .
RUN python -m compileall -qq commands configs materializers pipelines serving stack steps vision && \
    python -c "import matplotlib.font_manager" && chmod -R a+rwX /home/app  # its cache of fonts takes a second to make

USER 1000
EXPOSE 8000
ENTRYPOINT ["python", "run.py"]
CMD ["--help"]
