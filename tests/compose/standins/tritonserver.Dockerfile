# Triton from the nvidia-pytriton wheel, laid out as NVIDIA's image has it, for Debian's Python.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE} AS wheel
COPY tritonserver.txt numpy2_stub_fix.py /tmp/
RUN python3 -m pip install --no-cache-dir --no-deps --require-hashes --target /tmp/wheel -r /tmp/tritonserver.txt \
    && mkdir /opt/tritonserver \
    && cd /tmp/wheel/pytriton/tritonserver && cp -a bin caches backends /opt/tritonserver/ \
    && cp -a /tmp/wheel/nvidia_pytriton.libs /opt/tritonserver/libs \
    && cp python_backend_stubs/3.11/triton_python_backend_stub /opt/tritonserver/backends/python/ \
    && cp /tmp/numpy2_stub_fix.py /opt/tritonserver/backends/python/ \
    && printf '\nimport numpy2_stub_fix\n' >> /opt/tritonserver/backends/python/triton_python_backend_utils.py

FROM ${PYTHON_IMAGE}
RUN apt-get update && apt-get install -y --no-install-recommends libpython3.11 && rm -rf /var/lib/apt/lists/*
COPY --from=wheel /opt/tritonserver /opt/tritonserver
ENV PATH=/opt/tritonserver/bin:$PATH LD_LIBRARY_PATH=/opt/tritonserver/libs
WORKDIR /opt/tritonserver
CMD ["/bin/bash"]
