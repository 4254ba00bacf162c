{{- define "birds.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "birds.triton" -}}{{ include "birds.fullname" . }}-triton{{- end -}}
{{- define "birds.frontend" -}}{{ include "birds.fullname" . }}-frontend{{- end -}}

{{/* Labels that select all objects of this release: (dict "root" $) */}}
{{- define "birds.releaseSelector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{/* Labels that select the pods of one part: (dict "root" $ "component" "triton") */}}
{{- define "birds.selector" -}}
{{ include "birds.releaseSelector" . }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "birds.labels" -}}
{{ include "birds.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | quote }}
{{- end -}}

{{/* Paths that Ingress and HTTPRoute publish: all but /metrics. / is exact, the others are prefixes. */}}
{{- define "birds.publicPaths" -}}
- /
- /docs
- /files
- /health
- /models
- /openapi.json
- /species
- /species-lists
- /static
{{- end -}}

{{/* (dict "root" $ "image" .Values.triton.image) */}}
{{- define "birds.image" -}}
{{- if eq .image.tag "latest" -}}
{{- fail (printf "%s:latest names another image every day and cannot be rolled back: give a version or a digest" .image.repository) -}}
{{- end -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Settings as environment variables; the names are those of frontend/settings.py and tools/triton/settings.py. */}}
{{- define "birds.settings" -}}
{{- range $name, $value := . }}
- name: BIRDS_{{ upper $name }}
  value: {{ if kindIs "slice" $value }}{{ join "," $value | quote }}{{ else if kindIs "float64" $value }}{{ include "birds.number" $value | quote }}{{ else }}{{ $value | toString | quote }}{{ end }}
{{- end }}
{{- end -}}

{{/* Helm reads every number as a float and would write 256000000 as 2.56e+08. */}}
{{- define "birds.number" -}}
{{- if eq . (floor .) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}

{{- define "birds.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "birds.securityContext" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Spread over zones and machines if there are several; never prevent a start. */}}
{{- define "birds.topologySpread" -}}
{{- $selector := include "birds.selector" . -}}
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  matchLabelKeys: [pod-template-hash]
  labelSelector:
    matchLabels:
      {{- $selector | nindent 6 }}
{{- end }}
{{- end -}}

{{/* Parts of the pod spec that both Deployments share: (dict "root" $ "part" .Values.triton) */}}
{{- define "birds.placement" -}}
{{- with .part.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .part.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Bytes of a Kubernetes memory quantity in Ki, Mi, Gi or without a unit. */}}
{{- define "birds.bytes" -}}
{{- $units := dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 -}}
{{- $unit := regexFind "[A-Za-z]+$" . -}}
{{- mulf (regexFind "^[0-9.]+" . | float64) (get $units $unit | default 1) | int64 -}}
{{- end -}}

{{/* The current replicas of a Deployment that an autoscaler owns, or nothing if it does not exist yet. Without this, an
     upgrade that turns autoscaling on removes the field, and Kubernetes scales the Deployment down to 1 until the
     autoscaler acts: (dict "root" $ "name" NAME) */}}
{{- define "birds.liveReplicas" -}}
{{- $live := lookup "apps/v1" "Deployment" .root.Release.Namespace .name | default dict -}}
{{- dig "spec" "replicas" "" $live -}}
{{- end -}}
