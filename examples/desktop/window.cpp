// A window that says what is on the photos that are dropped on it: window FOLDER [PHOTO]
//
// FOLDER is what `fuseline export --embed` has written. The words come as soon as they are certain; another photo gives up
// the last. What was said is printed, too.
#include <fuseline.h>
#include <gtk/gtk.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>

struct Release {
  void operator()(fuseline_model* model) const { fuseline_close(model); }
  void operator()(fuseline_result* result) const { fuseline_free_result(result); }
  void operator()(fuseline_cancel* cancel) const { fuseline_free_cancel(cancel); }
  void operator()(GdkPixbuf* pixels) const { g_object_unref(pixels); }
};
template <typename T>
using Owned = std::unique_ptr<T, Release>;

class Window {
 public:
  explicit Window(Owned<fuseline_model> model);
  ~Window() { give_up(); }
  void show(const std::string& path);

 private:
  // Something that a caption's thread has for the window, which is GTK's own thread's alone.
  struct News {
    Window* window;
    int photo;
    std::string piece, note;
  };

  void give_up();
  void caption(int photo, const GdkPixbuf* pixels);
  void tell(int photo, std::string piece, std::string note) { g_idle_add(told, new News{this, photo, std::move(piece), std::move(note)}); }
  static gboolean told(gpointer data);
  static void dropped(GtkWidget*, GdkDragContext*, gint, gint, GtkSelectionData* data, guint, guint, gpointer window);
  static void choose(GtkButton*, gpointer window);

  Owned<fuseline_model> model_;
  Owned<fuseline_cancel> cancel_;
  std::thread thread_;
  Owned<GdkPixbuf> pixels_;
  int photo_ = 0;
  GtkWidget *window_, *image_, *text_, *note_;
};

Window::Window(Owned<fuseline_model> model) : model_(std::move(model)) {
  window_ = gtk_window_new(GTK_WINDOW_TOPLEVEL);
  image_ = gtk_image_new();
  text_ = gtk_label_new("Drop a photo here");
  note_ = gtk_label_new("");
  GtkWidget* button = gtk_button_new_with_label("Choose a photo …");
  GtkWidget* column = gtk_box_new(GTK_ORIENTATION_VERTICAL, 12);
  gtk_label_set_line_wrap(GTK_LABEL(text_), TRUE);
  gtk_box_pack_start(GTK_BOX(column), image_, TRUE, TRUE, 0);
  for (GtkWidget* each : {text_, note_, button}) gtk_box_pack_start(GTK_BOX(column), each, FALSE, FALSE, 0);
  gtk_container_set_border_width(GTK_CONTAINER(window_), 12);
  gtk_container_add(GTK_CONTAINER(window_), column);
  gtk_window_set_title(GTK_WINDOW(window_), "What is on a photo");
  gtk_window_set_default_size(GTK_WINDOW(window_), 560, 480);
  gtk_drag_dest_set(window_, GTK_DEST_DEFAULT_ALL, nullptr, 0, GDK_ACTION_COPY);
  gtk_drag_dest_add_uri_targets(window_);
  g_signal_connect(window_, "drag-data-received", G_CALLBACK(dropped), this);
  g_signal_connect(window_, "destroy", G_CALLBACK(gtk_main_quit), nullptr);
  g_signal_connect(button, "clicked", G_CALLBACK(choose), this);
  gtk_widget_show_all(window_);
}

void Window::give_up() {
  if (!thread_.joinable()) return;
  fuseline_stop(cancel_.get());
  thread_.join();
}

void Window::show(const std::string& path) {
  give_up();
  GError* error = nullptr;
  const Owned<GdkPixbuf> stored(gdk_pixbuf_new_from_file(path.c_str(), &error));
  if (!stored) {
    gtk_label_set_text(GTK_LABEL(note_), error->message);
    g_error_free(error);
    return;
  }
  const Owned<GdkPixbuf> upright(gdk_pixbuf_apply_embedded_orientation(stored.get()));
  const int width = gdk_pixbuf_get_width(upright.get()), height = gdk_pixbuf_get_height(upright.get());
  pixels_.reset(gdk_pixbuf_new(GDK_COLORSPACE_RGB, FALSE, 8, width, height));
  gdk_pixbuf_fill(pixels_.get(), 0xffffffff);  // white, behind what can be seen through
  gdk_pixbuf_composite(upright.get(), pixels_.get(), 0, 0, width, height, 0, 0, 1, 1, GDK_INTERP_NEAREST, 255);
  const double scale = std::min({1.0, 520.0 / width, 360.0 / height});
  const auto shown = [scale](int size) { return std::max(1, static_cast<int>(size * scale)); };
  const Owned<GdkPixbuf> small(gdk_pixbuf_scale_simple(pixels_.get(), shown(width), shown(height), GDK_INTERP_BILINEAR));
  gtk_image_set_from_pixbuf(GTK_IMAGE(image_), small.get());
  for (GtkWidget* each : {text_, note_}) gtk_label_set_text(GTK_LABEL(each), "");
  cancel_.reset(fuseline_new_cancel());
  thread_ = std::thread(&Window::caption, this, ++photo_, pixels_.get());
}

// In a thread of its own.
void Window::caption(int photo, const GdkPixbuf* pixels) {
  using Call = std::pair<Window*, int>;
  Call call(this, photo);
  fuseline_input input;
  fuseline_options options;
  fuseline_no_input(&input);
  input.rgb = gdk_pixbuf_read_pixels(pixels);
  input.width = gdk_pixbuf_get_width(pixels);
  input.height = gdk_pixbuf_get_height(pixels);
  input.stride = gdk_pixbuf_get_rowstride(pixels);
  fuseline_default_options(model_.get(), &options);
  options.cancel = cancel_.get();
  options.user_data = &call;
  options.on_text = [](const char* piece, const char*, void* data) {
    const auto& [window, number] = *static_cast<Call*>(data);
    window->tell(number, piece, "");
    return 0;
  };
  const auto before = std::chrono::steady_clock::now();
  const Owned<fuseline_result> result(fuseline_generate(model_.get(), &input, &options));
  const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - before;
  if (!result) return tell(photo, "", fuseline_last_error());
  if (fuseline_result_finished(result.get()) != 1) return;
  std::printf("%s\n", fuseline_result_text(result.get(), 0));
  std::fflush(stdout);
  tell(photo, "", std::to_string(static_cast<int>(taken.count() + 0.5)) + " ms");
}

gboolean Window::told(gpointer data) {
  const std::unique_ptr<News> news(static_cast<News*>(data));
  Window& window = *news->window;
  if (news->photo != window.photo_) return G_SOURCE_REMOVE;
  const std::string text = gtk_label_get_text(GTK_LABEL(window.text_)) + news->piece;
  gtk_label_set_text(GTK_LABEL(window.text_), text.c_str());
  if (!news->note.empty()) gtk_label_set_text(GTK_LABEL(window.note_), news->note.c_str());
  return G_SOURCE_REMOVE;
}

void Window::dropped(GtkWidget*, GdkDragContext*, gint, gint, GtkSelectionData* data, guint, guint, gpointer window) {
  gchar** files = gtk_selection_data_get_uris(data);
  gchar* path = files != nullptr && files[0] != nullptr ? g_filename_from_uri(files[0], nullptr, nullptr) : nullptr;
  if (path != nullptr) static_cast<Window*>(window)->show(path);
  g_free(path);
  g_strfreev(files);
}

void Window::choose(GtkButton*, gpointer data) {
  Window& window = *static_cast<Window*>(data);
  GtkFileChooserNative* chooser =
      gtk_file_chooser_native_new("Choose a photo", GTK_WINDOW(window.window_), GTK_FILE_CHOOSER_ACTION_OPEN, nullptr, nullptr);
  if (gtk_native_dialog_run(GTK_NATIVE_DIALOG(chooser)) == GTK_RESPONSE_ACCEPT) {
    gchar* path = gtk_file_chooser_get_filename(GTK_FILE_CHOOSER(chooser));
    if (path != nullptr) window.show(path);
    g_free(path);
  }
  g_object_unref(chooser);
}

int main(int count, char** arguments) {
  gtk_init(&count, &arguments);
  if (count < 2) return std::fputs("window: give a FOLDER, and a PHOTO if you like\n", stderr), 1;
  fuseline_settings settings;
  fuseline_default_settings(&settings);
  Owned<fuseline_model> model(fuseline_open(arguments[1], &settings));
  if (!model) return std::fprintf(stderr, "window: %s\n", fuseline_last_error()), 1;
  Window window(std::move(model));
  if (count > 2) window.show(arguments[2]);
  gtk_main();
}
