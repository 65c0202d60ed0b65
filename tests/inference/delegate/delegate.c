/* A real TFLite external delegate: it claims the model's softmax and computes it itself.
 *
 * Built five times, with -DWORKS, -DREFUSES, -DFAILS, -DCRASHES and -DHANGS. Where the option `log` names a file, it
 * writes there what happens to it, a line each: that is how a test sees into the worker.
 */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "abi.h"

#ifndef SOFTMAX
#define SOFTMAX 25 /* BuiltinOperator_SOFTMAX */
#endif

#ifndef LOG /* for what is given no option of ours */
#define LOG NULL
#endif

static const char *log_path = LOG;

static void note(const char *what, const char *detail) {
  FILE *log = log_path ? fopen(log_path, "a") : NULL;
  if (log == NULL) return;
  fprintf(log, "%s%s\n", what, detail);
  fclose(log);
}

static TfLiteStatus invoke(TfLiteContext *context, TfLiteNode *node) {
  const TfLiteTensor *in = &context->tensors[node->inputs->data[0]];
  TfLiteTensor *out = &context->tensors[node->outputs->data[0]];
  note("invoke", "");
#if defined(FAILS)
  context->ReportError(context, "the NPU does not answer");
  return kTfLiteError;
#elif defined(CRASHES)
  raise(SIGSEGV);
#elif defined(HANGS)
  pause();
#endif
  float sum = 0;
  for (size_t i = 0; i < in->bytes; i++) sum += expf(in->data[i] * in->params.scale);
  for (size_t i = 0; i < in->bytes; i++) {
    const float share = expf(in->data[i] * in->params.scale) / sum;
    out->data[i] = (int8_t)fminf(127, rintf(share / out->params.scale) + out->params.zero_point);
  }
  return kTfLiteOk;
}

static TfLiteStatus prepare(TfLiteContext *context, TfLiteDelegate *delegate) {
  TfLiteIntArray *plan;
  if (context->GetExecutionPlan(context, &plan) != kTfLiteOk) return kTfLiteError;
  TfLiteIntArray *mine = calloc(1, sizeof(TfLiteIntArray) + sizeof(int) * plan->size);
  for (int i = 0; i < plan->size; i++) {
    TfLiteNode *node;
    TfLiteRegistration *operator;
    context->GetNodeAndRegistration(context, plan->data[i], &node, &operator);
    if (operator->builtin_code == SOFTMAX) mine->data[mine->size++] = plan->data[i];
  }
  const TfLiteRegistration kernel = {.invoke = invoke, .custom_name = "TestSoftmax", .version = 1};
  const TfLiteStatus status = context->ReplaceNodeSubsetsWithDelegateKernels(context, kernel, mine, delegate);
  free(mine);
  return status;
}

TfLiteDelegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*error)(const char *)) {
  for (size_t i = 0; i < count; i++) {
    if (strcmp(keys[i], "log") == 0) log_path = strdup(values[i]);
  }
  for (size_t i = 0; i < count; i++) {
    if (strcmp(keys[i], "log") != 0) note(keys[i], values[i]);
  }
#if defined(REFUSES)
  error("no NPU on this board");
  return NULL;
#endif
  TfLiteDelegate *delegate = calloc(1, sizeof(TfLiteDelegate));
  delegate->Prepare = prepare;
  note("create", "");
  return delegate;
}

void tflite_plugin_destroy_delegate(TfLiteDelegate *delegate) {
  if (delegate != NULL) note("destroy", "");
  free(delegate);
}
