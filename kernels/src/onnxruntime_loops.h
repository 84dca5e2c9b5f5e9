// How the loops of an operator are shared among threads: on a layer's team, or else on onnxruntime's pool.
#pragma once

#include <atomic>

#include "onnxruntime_nodes.h"

namespace fuseline {

constexpr int64_t kWorthSharing = 64 << 10;  // bytes to read that are worth a second thread

// Runs job(first, last) over pieces of [0, total), on several threads where the work (bytes read) is worth waking them.
template <class Job>
OrtStatus* in_parts(const Node& node, const Call& call, int64_t total, int64_t bytes, const Job& job) {
  constexpr int64_t kPieceBytes = kWorthSharing / 2, kMostPieces = 16;
  int64_t pieces = bytes / kPieceBytes;
  pieces = pieces < kMostPieces ? pieces : kMostPieces;
  if (pieces < 2) {
    job(0, total);
    return nullptr;
  }
  if (call.team != nullptr) {
    call.team->share(total, job, &call.step->after);
    return nullptr;
  }
  struct Plan {
    const Job* job;
    int64_t total, size;
  } plan{&job, total, (total + pieces - 1) / pieces};
  plan.size += plan.size & 1;  // in twos, as the kernels take them
  const auto one = [](void* of, size_t index) {
    const Plan& p = *static_cast<const Plan*>(of);
    const int64_t first = static_cast<int64_t>(index) * p.size;
    (*p.job)(first, first + p.size < p.total ? first + p.size : p.total);
  };
  return on_all_threads(node, call.context, one, static_cast<size_t>((total + plan.size - 1) / plan.size), &plan);
}

// Runs lead(team) on one thread, with a team of all the threads that come.
template <class Lead>
OrtStatus* with_team(const Node& node, const OrtKernelContext* context, const Lead& lead) {
  struct Run {
    const Lead& lead;
    Team team{};
    std::atomic<bool> led{false};
    OrtStatus* status = nullptr;
  } run{lead};
  // Whoever comes first leads. A pool need not have so many threads; who comes after the end goes at once.
  const auto join = [](void* of, size_t) {
    Run& r = *static_cast<Run*>(of);
    if (r.led.exchange(true)) return r.team.help();
    r.status = r.lead(&r.team);
    r.team.end();
  };
  if (OrtStatus* status = on_all_threads(node, context, join, Team::kMostThreads, &run)) {
    if (run.status != nullptr) node.api.release(run.status);
    return status;
  }
  return run.led ? run.status : refuse(node, "onnxruntime has not run it");
}

// The same, of parts that need memory of their own: floats(jobs) numbers for so many jobs.
template <class Floats, class Job>
OrtStatus* in_parts(const Node& node, const Call& call, int64_t total, int64_t bytes, const Floats& floats, const Job& job) {
  std::atomic<bool> lacking{false};
  TRY(in_parts(node, call, total, bytes, [&](int64_t first, int64_t last) {
    if (first >= last) return;
    const Memory memory = memory_of(times(floats(last - first), sizeof(float)));
    if (memory != nullptr)
      job(first, last, static_cast<float*>(memory.get()));
    else
      lacking.store(true, std::memory_order_relaxed);
  }));
  return lacking ? no_memory(node) : nullptr;
}

}  // namespace fuseline
