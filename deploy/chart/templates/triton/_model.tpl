{{/* Init containers that fill /models: the model repository with its versions and this release's settings. */}}
{{- define "birds.modelContainers" -}}
{{- $model := .Values.model -}}
{{- if eq $model.source "bucket" }}
- name: fetch
  image: {{ $model.bucket.image | quote }}
  {{- with $model.bucket.command }}
  command:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  args:
    {{- toYaml $model.bucket.args | nindent 4 }}
  env:
    - name: HOME
      value: /tmp
    {{- with $model.bucket.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $model.bucket.envFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- include "birds.securityContext" . | nindent 4 }}
  resources:
    {{- toYaml $model.resources | nindent 4 }}
  volumeMounts:
    - name: versions
      mountPath: /versions
    - name: tmp
      mountPath: /tmp
{{- end }}
- name: model
  image: {{ include "birds.image" (dict "root" . "image" $model.image) | quote }}
  imagePullPolicy: {{ $model.image.pullPolicy }}
  command: [birds, models, prepare, /models]
  args:
    {{- if eq $model.source "weights" }}
    {{- with $model.weights }}
    - --source={{ . }}
    {{- end }}
    {{- else }}
    - --versions=/versions
    {{- end }}
    {{- with $model.default }}
    - --default={{ int . }}
    {{- end }}
  env:
    - name: HOME
      value: /tmp
    {{- with $model.mirror }}
    - name: BIRDS_MODEL_MIRROR
      value: {{ . | quote }}
    {{- end }}
    {{- /* Image limits that are raised for the frontend hold for Triton too. */}}
    {{- $settings := merge (dict) .Values.triton.settings (pick .Values.frontend.settings "max_pixels" "download_max_bytes") }}
    {{- if .Values.triton.gpu.count }}
    {{- $settings = merge (dict) $settings (dict "device" "gpu") }}
    {{- end }}
    {{- include "birds.settings" $settings | nindent 4 }}
  securityContext:
    {{- include "birds.securityContext" . | nindent 4 }}
  resources:
    {{- toYaml $model.resources | nindent 4 }}
  volumeMounts:
    - name: models
      mountPath: /models
    {{- if ne $model.source "weights" }}
    - name: versions
      mountPath: /versions
      readOnly: true
    {{- end }}
    - name: tmp
      mountPath: /tmp
{{- end -}}
