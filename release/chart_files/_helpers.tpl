{{/* An image by its digest or its tag; by default the chart's version, with the ending that is given. */}}
{{- define "watchmove.reference" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default (printf "%s%s" .version .ending) }}
{{- end -}}
{{- end -}}

{{- define "watchmove.image" -}}
{{- include "watchmove.reference" (dict "image" .Values.image "version" .Chart.AppVersion "ending" "") -}}
{{- end -}}

{{- define "watchmove.slim-image" -}}
{{- include "watchmove.reference" (dict "image" .Values.slimImage "version" .Chart.AppVersion "ending" "-slim") -}}
{{- end -}}

{{/* The name changes with the content, so that runs in progress keep their settings. */}}
{{- define "watchmove.settings" -}}
watchmove-settings-{{ toYaml .Values.settings | sha256sum | trunc 10 }}
{{- end -}}
